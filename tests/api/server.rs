//! A real server in this process, asked with the real kubectl and with bare HTTP.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use midge::http::Url;
use midge::http::client::Client;
use midge::server::{Config, Ready, run};
use midge::{Executor, tls};
use serde_json::Value;

/// One server with a data folder of its own, both gone when it is dropped.
pub struct Server {
    folder: PathBuf,
    pub ready: Ready,
    stop: smol::channel::Sender<()>,
    thread: Option<JoinHandle<()>>,
    keep: bool,
}

/// An answer to a bare request.
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The same, for what is no text.
    pub bytes: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The message of a Status.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    pub fn is(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }
}

impl Server {
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("midge-api-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self::start_in(folder)
    }

    fn start_in(folder: PathBuf) -> Self {
        let mut config = Config::new(folder.join("data"));
        config.bind_address = "127.0.0.1".parse().unwrap();
        config.port = 0;
        config.kubeconfig = Some(folder.join("kubeconfig"));
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let executor = Executor::default();
            let shutdown = async move {
                let _ = stopped.recv().await;
            };
            let ready = move |ready| tell.send(ready).unwrap();
            let server = run(config, executor.clone(), shutdown, ready);
            if let Err(error) = smol::block_on(executor.run(server)) {
                panic!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
            }
        });
        let ready = told.recv_timeout(Duration::from_secs(20)).expect("the server is ready");
        Self { folder, ready, stop, thread: Some(thread), keep: false }
    }

    /// Stops the server and starts one on the same folder.
    pub fn restart(mut self) -> Self {
        self.keep = true;
        let folder = self.folder.clone();
        drop(self);
        Self::start_in(folder)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn secret(&self) -> String {
        std::fs::read_to_string(self.folder.join("data/server/tls/admin-token")).unwrap()
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: impl Borrow<Value>) -> Answer {
        self.ask("POST", path, &[("content-type", "application/json")], body.borrow().to_string())
    }

    /// Waits until all its loops have seen what there is.
    pub fn until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.ask_as("GET", "/readyz", &[], "").code != 200 {
            assert!(Instant::now() < deadline, "not ready within 15 s");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A request as the admin.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let secret = format!("Bearer {}", self.secret());
        let mut all = vec![("authorization", secret.as_str())];
        all.extend_from_slice(headers);
        self.ask_as(method, path, &all, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub fn ask_as(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let url: Url = format!("https://127.0.0.1:{}", self.ready.address.port()).parse().unwrap();
        let pem = std::fs::read_to_string(self.folder.join("data/server/tls/ca.crt")).unwrap();
        let trust = tls::client_config_pinned(&pem).unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_ref()))).unwrap();
        let executor = Executor::default();
        let asked = async {
            let mut client = Client::connect(&url, trust, Duration::from_secs(10), &executor).await.unwrap();
            let response = client.send(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            Answer {
                code: parts.status.as_u16(),
                headers: parts.headers,
                text: String::from_utf8_lossy(&bytes).into_owned(),
                bytes,
            }
        };
        smol::block_on(executor.run(asked))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let kubectl = std::env::var("KUBECTL").unwrap_or_else(|_| String::from("kubectl"));
        self.program(&kubectl, arguments)
    }

    /// A client that finds the server by `KUBECONFIG`.
    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("KUBECONFIG", self.folder.join("kubeconfig"));
        command
    }

    /// Runs kubectl to its end.
    pub fn kubectl(&self, line: &str) -> Kubectl {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let output = self.command(&arguments).output().expect("kubectl is there");
        Kubectl { line: line.to_owned(), output }
    }

    /// Runs another client to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Kubectl {
        let output = self.program(program, arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        Kubectl { line: arguments.join(" "), output }
    }

    /// Starts kubectl; its output goes to the file `out` in the folder.
    pub fn kubectl_background(&self, line: &str, out: &str) -> Background {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let path = self.folder.join(out);
        let file = std::fs::File::create(&path).unwrap();
        let child = self.command(&arguments).stdout(file).stderr(Stdio::null()).spawn().unwrap();
        Background { child, path }
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A finished kubectl.
pub struct Kubectl {
    line: String,
    output: Output,
}

impl Kubectl {
    /// Its output, if it succeeded.
    pub fn ok(&self) -> String {
        assert!(self.output.status.success(), "kubectl {}: {}", self.line, self.all());
        self.all()
    }

    /// Its output, if it failed.
    pub fn fails(&self) -> String {
        assert!(!self.output.status.success(), "kubectl {}: {}", self.line, self.all());
        self.all()
    }

    /// Its exit code, and its output.
    pub fn result(&self) -> (i32, String) {
        (self.output.status.code().unwrap_or(-1), self.all())
    }

    fn all(&self) -> String {
        let out = String::from_utf8_lossy(&self.output.stdout);
        format!("{out}{}", String::from_utf8_lossy(&self.output.stderr))
    }
}

/// A kubectl that goes on.
pub struct Background {
    child: Child,
    path: PathBuf,
}

impl Background {
    /// Waits until the output holds `text`.
    pub fn until(&self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let out = std::fs::read_to_string(&self.path).unwrap();
            if out.contains(text) {
                return out;
            }
            assert!(Instant::now() < deadline, "no {text:?} in:\n{out}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end.
    pub fn ends(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
