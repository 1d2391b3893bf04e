//! Images of the node: what containerd has, and archives in `<data>/agent/images`.

use std::path::{Path, PathBuf};

use crate::containerd::{self, Client, Image, Platform};

/// Why a container's image can't be used. `reason` is what Kubernetes shows as the container's waiting
/// reason.
#[derive(Debug)]
pub enum Error {
    /// `InvalidImageName`.
    InvalidName { image: String, source: containerd::reference::Invalid },
    /// `ErrImageNeverPull`: not here, and the policy forbids pulling.
    NeverPull { image: String },
    /// `ErrImagePull`: not here, and pulling is not supported yet.
    NoPull { image: String, folder: PathBuf },
    /// `ErrImagePull`: here, and not usable (other platform, damaged).
    Inspect { image: String, source: containerd::Error },
}

/// The images of one node.
pub struct Images {}

impl Images {
    /// `folder` is where archives are put, `<data>/agent/images`.
    pub fn new(_client: Client, _folder: &Path, _snapshotter: &str, _platform: Platform) -> Images {
        todo!()
    }

    /// Imports the folder's archives (`*.tar`, `*.tar.gz`, `*.tgz`) that are not imported yet. What fails is logged
    /// and left out. Returns the names of images that are new.
    pub async fn import_folder(&self) -> Vec<String> {
        todo!()
    }

    /// The image of a container, unpacked and ready. `policy` is `imagePullPolicy`: `Always`, `IfNotPresent`,
    /// `Never`, or empty for the default. An archive that was put into the folder meanwhile is imported
    /// first.
    pub async fn ensure(&self, _image: &str, _policy: &str) -> Result<Image, Error> {
        todo!()
    }
}

impl Error {
    /// The container's waiting reason.
    pub fn reason(&self) -> &'static str {
        todo!()
    }
}
