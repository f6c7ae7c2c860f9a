"""What setup.cfg cannot say: in a wheel, the recipes of experiments/ lie inside of the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["acfnet_tf", "acfnet_tf.*"]), "acfnet_tf._experiments"],
    package_dir={"acfnet_tf._experiments": "experiments"},
    py_modules=["acfnet_tf_command"],
    entry_points={"console_scripts": ["acfnet_tf = acfnet_tf_command:main"]},
)
