//! Services found by name, with real sockets on the loopback: announced, heard, written to the cache
//! file, chosen, called, and gone.

#![allow(clippy::unwrap_used)]

/// Runs a test on each face, each on a bus of its own; the number is that of the first.
macro_rules! on_every_face {
    ($test:ident: $first:literal) => {
        mod $test {
            use crate::support;

            #[test]
            fn blocking() {
                super::$test(&support::Blocking, $first);
            }

            #[test]
            fn tokio() {
                super::$test(&support::TOKIO, $first + 1);
            }

            #[test]
            fn async_std() {
                super::$test(&support::ASYNC_STD, $first + 2);
            }

            #[test]
            fn smol() {
                super::$test(&support::SMOL, $first + 3);
            }
        }
    };
}

mod access;
mod actions;
mod life;
mod support;
