//! Policies that change what one call does, each a layer around a function.
