//! Empty. `make images` takes the modules from the source of the dependency, whose own
//! build needs a target that compilers no longer have.
