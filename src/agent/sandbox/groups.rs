//! Where pods' control groups are, by their class as the kubelet has it: those that get what they ask for
//! beside the one of all that may get more and the one of all that ask for nothing.

use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::cgroup::{Cgroups, Error, MIN_CPU_SHARES, Settings};
use crate::sys::pid_namespace;

/// A pod's quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Guaranteed,
    Burstable,
    BestEffort,
}

const CLASSES: [Class; 3] = [Class::Guaranteed, Class::Burstable, Class::BestEffort];

impl Class {
    pub fn named(name: &str) -> Class {
        match name {
            "Guaranteed" => Class::Guaranteed,
            "Burstable" => Class::Burstable,
            _ => Class::BestEffort,
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Class::Guaranteed => "",
            Class::Burstable => "/burstable",
            Class::BestEffort => "/besteffort",
        }
    }
}

/// No container's group: those are named by 64 digits.
fn pause(pod: &str) -> String {
    format!("{pod}/pause")
}

#[derive(Debug, Clone)]
pub struct Groups {
    cgroups: Cgroups,
    /// `/midge`
    parent: String,
    /// A class's group goes with its last pod, which must not be when the next one is about to be put in it.
    changing: Arc<Mutex<()>>,
    /// Processes and threads of a pod. None: as many as there may be.
    max_pids: Option<u64>,
}

impl Groups {
    pub fn new(cgroups: Cgroups, parent: &str) -> Groups {
        let parent = format!("/{}", parent.trim_matches('/'));
        Groups { cgroups, parent, changing: Arc::default(), max_pids: None }
    }

    pub fn limited(self, max_pids: Option<u64>) -> Groups {
        Groups { max_pids, ..self }
    }

    /// The group of the pod `uid`: the one that is there, or the one of its class.
    pub fn of(&self, uid: &str, class: Class) -> String {
        let others = CLASSES.into_iter().filter(|other| *other != class);
        let mut places = [class].into_iter().chain(others).map(|class| self.path(uid, class));
        places.find(|path| self.cgroups.exists(path)).unwrap_or_else(|| self.path(uid, class))
    }

    pub fn exists(&self, path: &str) -> bool {
        self.cgroups.exists(path)
    }

    fn path(&self, uid: &str, class: Class) -> String {
        format!("{}{}/pod{uid}", self.parent, class.folder())
    }

    fn class_path(&self, class: Class) -> String {
        format!("{}{}", self.parent, class.folder())
    }

    pub fn create(&self, uid: &str, class: Class, settings: &Settings) -> Result<(), Error> {
        let _held = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.of(uid, class);
        self.cgroups.create(&path)?;
        self.cgroups.set(&path, settings)?;
        if let Some(most) = self.max_pids {
            self.cgroups.set_max_pids(&path, most)?;
        }
        match class {
            Class::Guaranteed => Ok(()),
            Class::Burstable => self.cgroups.sum_shares(&self.class_path(class)),
            Class::BestEffort => self.cgroups.set_shares(&self.class_path(class), MIN_CPU_SHARES),
        }
    }

    /// Puts the first process of the pod's PID namespace where it is found again.
    pub fn put_pause(&self, path: &str, process: u32) -> Result<(), Error> {
        self.cgroups.put(&pause(path), process)
    }

    /// Whether the first process of the pod's PID namespace runs, and with it the namespace.
    pub fn has_pause(&self, path: &str) -> bool {
        self.cgroups.processes(&pause(path)).is_ok_and(|processes| !processes.is_empty())
    }

    /// All of the pod's groups, wherever they are.
    pub fn remove(&self, uid: &str) -> Result<(), Error> {
        let _held = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = Ok(());
        for class in CLASSES {
            let path = self.path(uid, class);
            if self.cgroups.exists(&path) {
                // The containers have ended: nobody needs their namespace any more.
                let pause = pause(&path);
                let processes = self.cgroups.processes(&pause).unwrap_or_default();
                outcome = outcome.and(self.cgroups.signal(&pause, true).map(drop));
                outcome = outcome.and(self.cgroups.remove(&path));
                processes.into_iter().for_each(pid_namespace::reap);
            }
            // Also when only this is left: the agent may have died before it.
            if class != Class::Guaranteed {
                self.cgroups.remove_empty(&self.class_path(class));
            }
            if class == Class::Burstable && self.cgroups.exists(&self.class_path(class)) {
                outcome = outcome.and(self.cgroups.sum_shares(&self.class_path(class)));
            }
        }
        outcome
    }

    /// The uids of pods that have one.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let mut uids = Vec::new();
        for class in CLASSES {
            let names = self.cgroups.children(&self.class_path(class))?;
            uids.extend(names.iter().filter_map(|name| Some(name.strip_prefix("pod")?.to_owned())));
        }
        Ok(uids)
    }
}
