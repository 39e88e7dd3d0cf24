"""How the tests check types: beartype, to which an int is also a float (PEP 484), as in a YAML that says 16."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
