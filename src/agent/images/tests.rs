use std::path::PathBuf;

use super::Error;

#[test]
fn says_what_to_do() {
    let error = Error::NoPull { image: "web:1".into(), folder: PathBuf::from("/d/images"), failed: None };
    assert_eq!(error.reason(), "ErrImagePull");
    assert_eq!(
        error.to_string(),
        "failed to pull image \"web:1\": pulling from registries is not supported yet: put the image's tar \
         into /d/images"
    );
    let failed = Some(("web.tar".into(), "cut off".into()));
    let error = Error::NoPull { image: "web:1".into(), folder: PathBuf::from("/d/images"), failed };
    assert!(error.to_string().ends_with("(`web.tar` there was not imported: cut off)"));
}
