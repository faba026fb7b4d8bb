//! Layers around a function, under tokio's paused clock.
