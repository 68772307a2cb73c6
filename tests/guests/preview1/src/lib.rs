//! Empty: the guests here share the library of the folder above.
