//! K10 join tokens: `K10<sha256 of the CA certificate's PEM, hex>::server:<secret>`.
