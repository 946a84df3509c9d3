"""Build your own WebText: one command over the whole corpus, and the version of the package."""

__version__: str


def __getattr__(name: str) -> str:
    """Find `__version__` when it is asked for.

    Importing the reader of package metadata takes most of the time of `import webtext`, in which
    an interrupt would be a traceback.
    """
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("webtext")
    except PackageNotFoundError:  # a checkout that was never installed
        return "0+unknown"
