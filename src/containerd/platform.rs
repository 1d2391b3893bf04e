//! Which of an index's manifests runs here.

use std::fmt;

/// An operating system and processor, in the names of the OCI image index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    /// For instance `v7` on arm; may be empty.
    pub variant: String,
}

impl Platform {
    /// The machine this program runs on.
    pub fn host() -> Platform {
        let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
        Platform::of(std::env::consts::ARCH, &machine)
    }

    /// `built_for` is Rust's name for this program's processor, `machine` is what uname says. Below a
    /// 64-bit kernel there may be no 64-bit libraries, and images bring their own: the kernel decides.
    fn of(built_for: &str, machine: &str) -> Platform {
        let (architecture, variant) = match (machine, built_for) {
            ("x86_64", _) => ("amd64", ""),
            ("i386" | "i486" | "i586" | "i686", _) => ("386", ""),
            ("aarch64" | "armv8l" | "arm64", _) => ("arm64", ""),
            (arm, _) if arm.starts_with("armv7") => ("arm", "v7"),
            (arm, _) if arm.starts_with("armv6") => ("arm", "v6"),
            (arm, _) if arm.starts_with("arm") => ("arm", "v5"),
            ("riscv64", _) => ("riscv64", ""),
            (_, "x86_64") => ("amd64", ""),
            (_, "aarch64") => ("arm64", ""),
            (_, other) => (other, ""),
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// How well an image for `os`, `architecture` and `variant` suits: less is better, `None` does not run.
    pub(super) fn rank(&self, os: &str, architecture: &str, variant: &str) -> Option<u8> {
        if os != self.os {
            return None;
        }
        match (self.architecture.as_str(), architecture) {
            ("amd64", "amd64") if variant.is_empty() || variant == "v1" => Some(0),
            ("amd64", "386") => Some(1),
            ("arm64", "arm64") if variant.is_empty() || variant == "v8" => Some(0),
            // Most 64-bit ARM processors of boards run 32-bit programs; better than nothing.
            ("arm64", "arm") => arm_version(variant).map(|version| 1 + 8u8.saturating_sub(version)),
            ("arm", "arm") => {
                let own = arm_version(&self.variant)?;
                own.checked_sub(arm_version(variant)?)
            }
            (own, other) if own == other && own != "amd64" && own != "arm64" => Some(0),
            _ => None,
        }
    }
}

/// Without a variant an ARM image is taken for v7, as containerd takes it.
fn arm_version(variant: &str) -> Option<u8> {
    match variant {
        "" | "v7" => Some(7),
        "v8" => Some(8),
        "v6" => Some(6),
        "v5" => Some(5),
        _ => None,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(machine: &str, offers: &[(&'a str, &'a str)]) -> Option<(&'a str, &'a str)> {
        let platform = Platform::of("arm", machine);
        let ranked =
            offers.iter().filter_map(|offer| Some((platform.rank("linux", offer.0, offer.1)?, *offer)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, offer)| offer)
    }

    #[test]
    fn chooses_the_best_that_runs() {
        let all = [
            ("amd64", ""),
            ("386", ""),
            ("arm", "v5"),
            ("arm", "v6"),
            ("arm", "v7"),
            ("arm64", "v8"),
            ("amd64", "v3"),
        ];
        assert_eq!(best("x86_64", &all), Some(("amd64", "")));
        assert_eq!(best("x86_64", &all[1..]), Some(("386", "")));
        assert_eq!(best("x86_64", &all[6..]), None);
        assert_eq!(best("armv7l", &all), Some(("arm", "v7")));
        assert_eq!(best("armv6l", &all), Some(("arm", "v6")));
        assert_eq!(best("armv6l", &all[4..]), None);
        assert_eq!(best("armv7l", &[("arm", "v5"), ("arm", "v6")]), Some(("arm", "v6")));
        assert_eq!(best("aarch64", &all), Some(("arm64", "v8")));
        assert_eq!(best("aarch64", &all[..5]), Some(("arm", "v7")));
        assert_eq!(best("riscv64", &all), None);
        assert_eq!(Platform::of("x86_64", "x86_64").rank("windows", "amd64", ""), None);
    }
}
