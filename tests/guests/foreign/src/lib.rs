//! Nothing. `make images` takes the modules from the source of the dependency,
//! whose own build asks for a target that compilers no longer know.
