"""ACFNet for semantic segmentation: train, evaluate, predict, draw, export, serve, measure. `python main.py --help`

Every mode is a file of `acfnet_tf/cli/`.
"""

from acfnet_tf_command import main

if __name__ == "__main__":
    main()
