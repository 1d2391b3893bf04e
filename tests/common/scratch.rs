//! One test's folder. It goes with the test, unless the test failed.

use super::command::run;
use std::path::PathBuf;

pub struct Scratch {
    path: PathBuf,
    kept: bool,
}

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("midge-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch { path, kept: false }
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The archive of a busybox image called `name`, made the way users make it.
    pub fn image(&self, name: &str) -> PathBuf {
        let path = self.path.join("busybox.tar");
        if !path.exists() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/busybox-image.sh");
            run("sh", [script, "/bin/busybox", name, path.to_str().unwrap()]);
        }
        path
    }

    /// Keeps the folder, since the test failed, and says where it is.
    pub fn keep(&mut self) {
        self.kept = true;
        eprintln!("-- logs are kept in {}", self.path.display());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept && !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
