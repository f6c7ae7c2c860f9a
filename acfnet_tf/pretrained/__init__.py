"""Pretrained weights of backbones, from every usual source."""
