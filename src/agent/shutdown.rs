//! The machine goes down: `midge shutdown` says so by connecting to a socket in the run folder, which only root
//! reaches. It gets the seconds that this takes at most, then a line whenever there is news, the last one when pods
//! have ended. Until the agent is started anew the node runs no pods.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_listener::Event;
use futures_lite::{AsyncWriteExt, future};
use smol::net::unix::{UnixListener, UnixStream};

use super::wake::Wake;
use crate::Executor;
use crate::plan::shutdown::Grace;

/// The last line when nothing runs any more.
pub const ENDED: &str = "all pods have ended";
/// The last line when pods are not to be ended.
pub const GO_ON: &str = "pods go on: the node's shutdown grace period is 0";
/// In the words of the kubelet's Ready condition.
const TROUBLE: &str = "node is shutting down";
/// Pods that are named in one line.
const NAMED: usize = 5;
/// What the pod loop gets beyond the pods' own time: it may wait for containerd.
const PATIENCE: Duration = Duration::from_secs(2);
/// After a failed accept, which is for want of something that others have.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Shutdown(Arc<Inner>);

struct Inner {
    grace: Grace,
    said: Mutex<Said>,
    news: Event,
    /// The pod loop's, and that of who describes the node.
    wakes: [Wake; 2],
}

#[derive(Clone, Default, PartialEq)]
struct Said {
    is_asked: bool,
    text: String,
    is_over: bool,
}

/// Where an agent with this run folder is told.
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("shutdown.sock")
}

impl Shutdown {
    pub fn new(grace: Grace, wakes: [Wake; 2]) -> Shutdown {
        Shutdown(Arc::new(Inner { grace, said: Mutex::default(), news: Event::new(), wakes }))
    }

    /// How long pods have, once somebody has asked.
    pub fn asked(&self) -> Option<Grace> {
        self.said().is_asked.then_some(self.0.grace)
    }

    /// Why the node is not Ready.
    pub fn trouble(&self) -> Option<String> {
        self.asked().map(|_| TROUBLE.to_owned())
    }

    /// The pods of which something runs; `is_over`: nothing more is done about them.
    pub fn tell(&self, running: &[String], is_over: bool) {
        let names: Vec<&str> = running.iter().take(NAMED).map(String::as_str).collect();
        let more = running.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = match (running.len(), is_over) {
            (0, _) => ENDED.to_owned(),
            (_, true) => format!("did not end in time: {}{more}", names.join(", ")),
            (count, false) => format!("waiting for {count} pod(s): {}{more}", names.join(", ")),
        };
        self.update(|said| (said.text, said.is_over) = (text, is_over));
    }

    fn said(&self) -> Said {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Said)) {
        let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
        let before = said.clone();
        change(&mut said);
        if *said != before {
            if said.is_over {
                log::info!("{}", said.text);
            }
            drop(said);
            self.0.news.notify(usize::MAX);
        }
    }

    /// Answers those who ask, for ever.
    pub async fn serve(self, path: PathBuf, executor: Executor) {
        // One that was there belongs to an agent that is gone: this one has the lock.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).and_then(|listener| {
            std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            Ok(listener)
        });
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                return log::error!(
                    "`midge shutdown` can't end pods: failed to bind `{}`: {error}",
                    path.display()
                );
            }
        };
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                smol::Timer::after(ACCEPT_AGAIN).await;
                continue;
            };
            let shutdown = self.clone();
            // Whoever asked may have left; that changes nothing.
            executor.spawn(async move { drop(shutdown.answer(stream).await) }).detach();
        }
    }

    async fn answer(&self, mut stream: UnixStream) -> io::Result<()> {
        let grace = self.0.grace;
        let most = grace.most() + PATIENCE;
        if !grace.all.is_zero() && self.asked().is_none() {
            log::info!("{TROUBLE}: pods have {} s to end", grace.all.as_secs());
            self.update(|said| said.is_asked = true);
            self.0.wakes.iter().for_each(Wake::wake);
        }
        stream.write_all(format!("{}\n", most.as_secs()).as_bytes()).await?;
        if grace.all.is_zero() {
            return stream.write_all(format!("{GO_ON}\n").as_bytes()).await;
        }
        let told = async {
            let mut told = String::new();
            loop {
                let listener = self.0.news.listen();
                let said = self.said();
                if said.text != told {
                    stream.write_all(format!("{}\n", said.text).as_bytes()).await?;
                    told = said.text;
                }
                if said.is_over {
                    return Ok(());
                }
                listener.await;
            }
        };
        let late = async {
            smol::Timer::after(most).await;
            Ok(())
        };
        future::or(told, late).await
    }
}
