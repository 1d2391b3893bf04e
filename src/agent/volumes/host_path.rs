//! `hostPath`: what must be there, or is made.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use serde_json::Value;

use super::{Problem, text};

/// Makes what its type asks for, and checks what is there.
pub fn check(source: &Value) -> Result<(), Problem> {
    let (text_path, kind) = (text(source, "path"), text(source, "type"));
    let path = Path::new(text_path);
    let create = |made: std::io::Result<()>| made.map_err(|error| Problem::io("create", path, error));
    // What is said to be nothing is a folder for the runtime, as CRI runtimes make it.
    if matches!(kind, "" | "DirectoryOrCreate") && !path.exists() {
        create(fs::DirBuilder::new().recursive(true).mode(0o755).create(path))?;
    }
    if kind == "FileOrCreate" && !path.exists() {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path);
        create(file.map(drop))?;
    }
    let Ok(found) = fs::metadata(path).map(|found| found.file_type()) else {
        return expected(text_path, kind);
    };
    let fits = match kind {
        "Directory" | "DirectoryOrCreate" => found.is_dir(),
        // Whatever can be read by its name and is no folder.
        "File" | "FileOrCreate" => found.is_file(),
        "Socket" => found.is_socket(),
        "CharDevice" => found.is_char_device(),
        "BlockDevice" => found.is_block_device(),
        _ => true,
    };
    if fits { Ok(()) } else { expected(text_path, kind) }
}

fn expected(path: &str, kind: &str) -> Result<(), Problem> {
    let expected = match kind {
        "File" | "FileOrCreate" => "file",
        "Socket" => "socket file",
        "CharDevice" => "character device",
        "BlockDevice" => "block device",
        _ => "directory",
    };
    Err(Problem::HostPath { path: path.to_owned(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_type_is_made_or_checked() {
        let folder = std::env::temp_dir().join(format!("midge-hostpath-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        let socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        let at = |path: &str| match path {
            path if path.starts_with('/') => path.to_owned(),
            path => folder.join(path).to_str().unwrap().to_owned(),
        };
        for (path, kind, fits) in [
            ("new/a", "", Ok(())),
            ("new/b", "DirectoryOrCreate", Ok(())),
            ("new/b", "Directory", Ok(())),
            ("file", "Directory", Err("directory")),
            ("file", "DirectoryOrCreate", Err("directory")),
            ("nothing", "Directory", Err("directory")),
            ("file", "File", Ok(())),
            ("nothing", "File", Err("file")),
            ("new/c", "FileOrCreate", Ok(())),
            ("new/b", "FileOrCreate", Err("file")),
            ("socket", "Socket", Ok(())),
            ("file", "Socket", Err("socket file")),
            ("/dev/null", "CharDevice", Ok(())),
            ("file", "CharDevice", Err("character device")),
            ("/dev/null", "BlockDevice", Err("block device")),
        ] {
            let found = check(&json!({"path": at(path), "type": kind})).map_err(|error| error.to_string());
            let wanted = fits
                .map_err(|expected| format!("hostPath type check failed: {} is not a {expected}", at(path)));
            assert_eq!(found, wanted, "{path} {kind}");
        }
        drop(socket);
        fs::remove_dir_all(&folder).unwrap();
    }
}
