"""How large a schema may be: what a grammar costs to compile and to follow grows faster than the schema's text."""

MAX_BYTES = 128 << 10  # of the schema as JSON
MAX_DEPTH = 32  # schemas inside each other
MAX_NESTING = 300  # that, added up over all definitions: grammar libraries recurse through references
MAX_PROPERTIES = 2000  # named in the whole schema
MAX_OPTIONAL = 400  # optional ones of one object: each is an alternative at each place
MAX_ALTERNATIVES = 500  # of one anyOf
MAX_MEMBERS = 500  # schemas that hold in one place, through references and combinations
MAX_CROSSED = 200  # of all places where an allOf multiplies them, added up
MAX_ITEMS = 5000  # minItems and maxItems, added up: each place in an array is a symbol
MAX_REPEATS = 2000  # of a pattern: counts add up side by side and multiply where they are nested
MAX_LENGTH = 2**31 - 1  # minLength and maxLength, which cost nothing
MAX_MULTIPLE = 10_000  # multipleOf, counted in its last decimal place, added up
MAX_NUMBER = 2**63  # the size of a number that a schema names
MAX_PATTERN = 4096  # characters
