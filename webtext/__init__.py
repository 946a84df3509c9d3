"""Build your own WebText: one command over the whole corpus, and the version of the package."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("webtext")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
