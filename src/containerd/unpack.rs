//! From layers in the content store to a committed snapshot.

use super::{Client, Error, Image};

impl Client {
    /// Makes sure that `image`'s layers are unpacked in `snapshotter`, under its chain id.
    pub async fn ensure_unpacked(&self, _image: &Image, _snapshotter: &str) -> Result<(), Error> {
        todo!()
    }
}
