//! The API of a running server: with the real kubectl (`$KUBECTL`, or the one in the path), and bare.

mod http;
mod kubectl;
mod server;
mod start;
mod watch;
