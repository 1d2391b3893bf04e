use std::path::PathBuf;
use std::sync::Arc;

use super::Error;
use super::failure::Failure;

#[test]
fn says_what_is_wrong() {
    let error = |archive| Error::Pull {
        image: "web:1".into(),
        source: Arc::new(Failure::Schema1),
        folder: PathBuf::from("/d/images"),
        archive,
    };
    assert_eq!(error(None).reason(), "ErrImagePull");
    assert!(
        error(None)
            .to_string()
            .starts_with("failed to pull image \"web:1\": the manifest is of Docker's schema 1")
    );
    let failed = Some(("web.tar".into(), "cut off".into()));
    assert!(error(failed).to_string().ends_with("(`web.tar` in /d/images was not imported either: cut off)"));
}
