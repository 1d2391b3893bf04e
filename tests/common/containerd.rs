//! A containerd of the test's own.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::folder::{Folder, unmount_below};

/// A running containerd with its own root, state, socket and configuration. Dropping it stops it, and
/// what runs in it still.
pub struct Containerd {
    process: Option<Child>,
    program: PathBuf,
    /// Makes the command that runs a program, on whichever host.
    launch: Box<dyn Fn(&str) -> Command + Send + Sync>,
    namespace: String,
    /// Dropped last: nothing uses it by then.
    folder: Folder,
}

impl Containerd {
    /// Starts the containerd in PATH, or the one that `MIDGE_TEST_CONTAINERD` names (with its shim beside it).
    pub fn start() -> Containerd {
        Containerd::start_by(|program| Command::new(program))
    }

    /// Starts it by a command that `launch` makes, so that it runs on another host.
    pub fn start_by(launch: impl Fn(&str) -> Command + Send + Sync + 'static) -> Containerd {
        assert!(rustix::process::geteuid().is_root(), "tests on a real containerd need root");
        let program =
            std::env::var_os("MIDGE_TEST_CONTAINERD").map_or_else(|| "containerd".into(), PathBuf::from);
        let folder = Folder::new("ctd");
        std::fs::write(folder.join("config.toml"), config(folder.path())).unwrap();
        let name = folder.path().file_name().unwrap().to_string_lossy();
        let namespace = name.into_owned();
        let mut containerd =
            Containerd { process: None, program, launch: Box::new(launch), namespace, folder };
        containerd.up();
        containerd
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("c.sock")
    }

    /// A namespace that no other test uses: runc's state is by namespace and container id below
    /// `/run/containerd/runc`, whichever containerd runs it. Name cgroups below a folder of this name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A folder for what goes with this containerd.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn restart(&mut self) {
        self.down();
        self.up();
    }

    /// Stops the process, and no container.
    pub fn down(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                process.kill().unwrap();
                process.wait().unwrap();
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn up(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = (self.launch)(&self.program.to_string_lossy());
        if let Some(beside) = self.program.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", beside.display()));
        }
        let child = command
            .arg("--config")
            .arg(self.folder.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start `{}`: {error}", self.program.display()));
        self.process = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().unwrap());
            if ended.is_some() || Instant::now() > deadline {
                panic!("containerd does not listen: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs `ctr` on this containerd, in its namespace. Returns what it prints.
    pub fn ctr(&self, arguments: &[&str]) -> String {
        let output = Command::new("ctr")
            .args(["--namespace", &self.namespace, "--address"])
            .arg(self.socket())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "ctr {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.down();
        self.end_containers();
    }
}

impl Containerd {
    /// Ends it and all that runs in it, as a power cut does; what a boot clears is gone. [`Containerd::up`] follows.
    pub fn power_off(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        self.end_containers();
        unmount_below(self.folder.path());
        std::fs::remove_dir_all(self.folder.join("state")).unwrap();
    }

    fn end_containers(&self) {
        let shims = self.shims();
        let containers =
            processes().filter(|process| shims.contains(&process.parent)).map(|process| process.pid);
        for pid in containers.chain(shims.iter().copied()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // It may have ended meanwhile.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        // What is left here belongs to containers that a failed test left.
        for namespace in self.namespaces() {
            let _ = std::fs::remove_dir_all(Path::new("/run/containerd/runc").join(&namespace));
            for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                remove_cgroup(&hierarchy.path().join(&namespace));
            }
            remove_cgroup(&Path::new("/sys/fs/cgroup").join(&namespace));
        }
    }

    /// Its own namespace and all those that something has run in.
    fn namespaces(&self) -> Vec<String> {
        let tasks = self.folder.join("state/io.containerd.runtime.v2.task");
        let used = std::fs::read_dir(tasks).into_iter().flatten().flatten();
        let used = used.map(|entry| entry.file_name().to_string_lossy().into_owned());
        used.chain([self.namespace.clone()]).collect()
    }

    /// Process ids of the shims that this containerd has started.
    pub fn shims(&self) -> Vec<i32> {
        let socket = self.socket();
        let ours = |arguments: &[u8]| {
            arguments
                .split(|byte| *byte == 0)
                .any(|argument| argument == socket.as_os_str().as_encoded_bytes())
        };
        let shims = processes().filter(|process| {
            let arguments = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
            arguments.windows(16).any(|part| part == b"containerd-shim-") && ours(&arguments)
        });
        shims.map(|process| process.pid).collect()
    }
}

/// Removes a cgroup and those below it, once their processes are gone.
fn remove_cgroup(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    for _ in 0..50 {
        match std::fs::remove_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => break,
        }
    }
}

struct Process {
    pid: i32,
    parent: i32,
}

fn processes() -> impl Iterator<Item = Process> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some(Process { pid, parent })
    })
}

fn config(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{folder}/c.sock"

[ttrpc]
address = "{folder}/c.sock.ttrpc"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
"#
    )
}
