"""World models from one command line: record, learn, act, look inside, repeat."""

__version__ = "0.1.0"
