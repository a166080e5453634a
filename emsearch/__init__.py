"""Find, train and ensemble segmentation networks for electron-microscopy volumes."""

__version__ = "0.1.0"
