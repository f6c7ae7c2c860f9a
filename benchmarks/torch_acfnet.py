"""ACFNet in PyTorch, written from the paper: the other side of `train_step.py` and `inference.py`.

Plain PyTorch as its users write it: NCHW modules (to be run in the channels_last memory format), `nn.BatchNorm2d`,
`torch.bmm` for class centers and class attention, `F.interpolate(align_corners=True)`, which on 8k + 1 pixels is what
ours does.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
HEAD_WEIGHTS = {"aux": 0.4, "coarse": 0.6, "fine": 0.7}


class ConvNormAct(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int = 1, dilation: int = 1, activation: bool = True
    ) -> None:
        super().__init__()
        padding = dilation * (size - 1) // 2
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.activation else x


class Bottleneck(nn.Module):
    """1×1 reduce, 3×3, 1×1 expand, added to the input."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(inputs, width, 1)
        self.conv2 = ConvNormAct(width, width, 3, stride, dilation)
        self.conv3 = ConvNormAct(width, 4 * width, 1, activation=False)
        self.shortcut = None
        if stride != 1 or inputs != 4 * width:
            self.shortcut = ConvNormAct(inputs, 4 * width, 1, stride, activation=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return F.relu(self.conv3(self.conv2(self.conv1(x))) + shortcut, inplace=True)


def resnet_stage(inputs: int, width: int, blocks: int, stride: int, dilations: tuple[int, int]) -> nn.Sequential:
    """`dilations`: of the first block and of the others."""
    stage = OrderedDict(block1=Bottleneck(inputs, width, stride, dilations[0]))
    for number in range(2, blocks + 1):
        stage[f"block{number}"] = Bottleneck(4 * width, width, 1, dilations[1])
    return nn.Sequential(stage)


class ASPP(nn.Module):
    """One 1×1 and three dilated 3×3 convolutions in parallel, concatenated and projected."""

    def __init__(self, inputs: int, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branch_1x1 = ConvNormAct(inputs, channels, 1)
        self.dilated = nn.ModuleDict(
            {f"branch_rate_{rate}": ConvNormAct(inputs, channels, 3, dilation=rate) for rate in rates}
        )
        self.projection = ConvNormAct((1 + len(rates)) * channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [self.branch_1x1(x)] + [branch(x) for branch in self.dilated.values()]
        return self.projection(torch.cat(branches, dim=1))


class ClassCenterBlock(nn.Module):
    """Eq. 2: the mean of the reduced features of every class, weighted by the coarse probabilities; (B, N, C')."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, channels, 1)

    def forward(self, features: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
        pixels = self.reduce(features).flatten(2)
        weights = probabilities.flatten(2)
        return torch.bmm(weights, pixels.transpose(1, 2)) / weights.sum(2, keepdim=True).clamp_min(1e-20)


class ClassAttentionBlock(nn.Module):
    """Eq. 3: every pixel's mixture of the class centers, refined by a 1×1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.refine = nn.Conv2d(channels, channels, 1)

    def forward(self, centers: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
        mixed = torch.bmm(centers.transpose(1, 2), probabilities.flatten(2))
        return self.refine(mixed.unflatten(2, probabilities.shape[2:]))


class ACFNet(nn.Module):
    """ResNet of output stride 8, ASPP, ACF(sum), auxiliary head: RGB 0–255 → logits of each head, of input size."""

    def __init__(
        self,
        num_classes: int = 19,
        backbone: str = "resnet101",
        channels: int = 512,
        aspp_rates: tuple[int, ...] = (12, 24, 36),
        width: int = 64,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1), persistent=False)
        blocks = BLOCKS[backbone]
        self.stem_conv1 = ConvNormAct(3, width, 7, stride=2)
        self.stage1 = resnet_stage(width, width, blocks[0], 1, (1, 1))
        self.stage2 = resnet_stage(4 * width, 2 * width, blocks[1], 2, (1, 1))
        self.stage3 = resnet_stage(8 * width, 4 * width, blocks[2], 1, (1, 2))
        self.stage4 = resnet_stage(16 * width, 8 * width, blocks[3], 1, (2, 4))
        self.aspp = ASPP(32 * width, channels, aspp_rates)
        self.coarse_logits = nn.Conv2d(channels, num_classes, 1)
        self.class_centers = ClassCenterBlock(channels, channels)
        self.class_attention = ClassAttentionBlock(channels)
        self.attention_norm = nn.BatchNorm2d(channels)
        self.fusion = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.fusion_norm = nn.BatchNorm2d(channels)
        self.fine_logits = nn.Conv2d(channels, num_classes, 1)
        self.aux_conv = ConvNormAct(16 * width, channels // 2, 3)
        self.aux_logits = nn.Conv2d(channels // 2, num_classes, 1)

    def forward(
        self, images: torch.Tensor, heads: tuple[str, ...] = ("fine", "coarse", "aux")
    ) -> dict[str, torch.Tensor]:
        x = self.stem_conv1((images - self.mean) / self.std)
        x = F.max_pool2d(x, 3, 2, padding=1)
        next_to_last = self.stage3(self.stage2(self.stage1(x)))
        features = self.aspp(self.stage4(next_to_last))
        coarse = self.coarse_logits(features)
        probabilities = coarse.softmax(dim=1)
        centers = self.class_centers(features, probabilities)
        attended = F.relu(self.attention_norm(self.class_attention(centers, probabilities)), inplace=True)
        fused = self.fusion(torch.cat([attended, features], dim=1))
        fine = self.fine_logits(F.relu(self.fusion_norm(fused), inplace=True))
        logits = {"fine": fine, "coarse": coarse}
        if "aux" in heads:
            logits["aux"] = self.aux_logits(self.aux_conv(next_to_last))
        return {
            head: F.interpolate(logits[head], size=images.shape[2:], mode="bilinear", align_corners=True)
            for head in heads
        }


def segmentation_loss(
    logits: dict[str, torch.Tensor], labels: torch.Tensor, class_weights: torch.Tensor
) -> torch.Tensor:
    """Eq. 4 with class-balanced cross entropy, a mean over the pixels that are not 255."""
    valid = (labels != 255).sum()
    return sum(
        weight * F.cross_entropy(logits[head], labels, class_weights, ignore_index=255, reduction="sum") / valid
        for head, weight in HEAD_WEIGHTS.items()
    )
