//! Tokens of service accounts that pods mount: asked of the server, kept in memory, renewed in time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::{Event, IntoNotification};
use futures_lite::future;

use crate::agent::wake::Wake;
use crate::api::Object;
use crate::link::{TokenAsk, TokenGiven};

/// Tokens of one node: far more than its pods have.
const MOST: usize = 1024;
/// What was refused is asked for again after this long at the earliest.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same once it was refused again and again: each question is a message on the link.
const MOST_PATIENCE: Duration = Duration::from_secs(600);
/// A link that is away for longer is not waited for: pods that ran before run again without a token.
const LINK_PATIENCE: Duration = Duration::from_secs(6);

#[derive(Clone, Default)]
pub struct Tokens(Arc<Inner>);

#[derive(Default)]
struct Inner {
    entries: Mutex<BTreeMap<TokenAsk, Entry>>,
    /// Something is to be asked.
    outgoing: Wake,
    has_news: AtomicBool,
    /// The server has answered.
    given: Event,
    link: Mutex<Link>,
}

/// Whether the server is there to be asked.
enum Link {
    Up,
    /// Since then; at the start it has not come yet.
    Away(Instant),
}

impl Default for Link {
    fn default() -> Self {
        Link::Away(Instant::now())
    }
}

#[derive(Default)]
struct Entry {
    /// With the moment it came at: a board's clock may be wrong, and be set.
    token: Option<(String, Instant)>,
    asking: Asking,
    /// Why the server gives none, and since when.
    refused: Option<(String, Instant)>,
    /// How often in a row.
    refusals: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Asking {
    #[default]
    No,
    Due,
    /// Asked on this link.
    Said,
}

impl Entry {
    fn patience(&self) -> Duration {
        (PATIENCE * 2u32.saturating_pow(self.refusals.saturating_sub(1).min(10))).min(MOST_PATIENCE)
    }

    /// When it is to be asked for; None while it is.
    fn due(&self, life: Duration) -> Option<Instant> {
        if self.asking != Asking::No {
            return None;
        }
        let patience = self.refused.as_ref().map(|(_, at)| *at + self.patience());
        let renewal = self.token.as_ref().map(|(_, at)| *at + life * 4 / 5);
        [patience, renewal].into_iter().flatten().max()
    }
}

impl Tokens {
    /// `outgoing` is woken when there is something to ask.
    pub fn new(outgoing: Wake) -> Tokens {
        Tokens(Arc::new(Inner { outgoing, ..Inner::default() }))
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<TokenAsk, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pod's token, or why there is none yet: then it is asked for.
    pub fn get(&self, pod: &Object, audience: &str, seconds: u64) -> Result<String, String> {
        let now = Instant::now();
        let ask = TokenAsk {
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            audience: audience.to_owned(),
            seconds,
        };
        let mut entries = self.entries();
        if entries.len() >= MOST && !entries.contains_key(&ask) {
            return Err(format!("the node holds as many tokens as it may: {MOST}"));
        }
        let entry = entries.entry(ask).or_default();
        let life = Duration::from_secs(seconds);
        let is_new = entry.token.is_none() && entry.refused.is_none();
        if entry.asking == Asking::No && (is_new || entry.due(life).is_some_and(|due| due <= now)) {
            entry.asking = Asking::Due;
            self.0.outgoing.wake();
        }
        match (&entry.token, &entry.refused) {
            (Some((token, at)), _) if now.saturating_duration_since(*at) < life => Ok(token.clone()),
            (_, Some((why, _))) => Err(why.clone()),
            _ => Err("the server has not given it yet".to_owned()),
        }
    }

    pub fn set_linked(&self, is_linked: bool) {
        let mut link = self.0.link.lock().unwrap_or_else(PoisonError::into_inner);
        match (is_linked, &*link) {
            (true, _) => *link = Link::Up,
            (false, Link::Up) => *link = Link::Away(Instant::now()),
            (false, Link::Away(_)) => {}
        }
    }

    /// Whether there is a link on which tokens can come, or may soon be one.
    pub fn are_linked(&self) -> bool {
        match *self.0.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Link::Up => true,
            Link::Away(since) => since.elapsed() < LINK_PATIENCE,
        }
    }

    /// Whether tokens of the pod are on their way.
    pub fn are_awaited(&self, uid: &str) -> bool {
        let awaited = |entry: &Entry| entry.token.is_none() && entry.refused.is_none();
        self.are_linked() && self.entries().iter().any(|(ask, entry)| ask.uid == uid && awaited(entry))
    }

    /// Waits until no token of the pod is on its way, or until something of that has changed, `patience` at most.
    pub async fn news(&self, uid: &str, patience: Duration) {
        let given = self.0.given.listen();
        let late = async {
            smol::Timer::after(patience).await;
        };
        if self.are_awaited(uid) {
            future::or(given, late).await;
        }
    }

    /// Asks again for what is near its end. Returns when the next one will be.
    pub fn renew(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut next = None;
        for (ask, entry) in self.entries().iter_mut() {
            let Some(due) = entry
                .due(Duration::from_secs(ask.seconds))
                .filter(|_| entry.token.is_some() || entry.refused.is_some())
            else {
                continue;
            };
            if due <= now {
                entry.asking = Asking::Due;
                self.0.outgoing.wake();
            } else {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            }
        }
        next
    }

    /// What to ask next.
    pub fn next_ask(&self) -> Option<TokenAsk> {
        let mut entries = self.entries();
        let (ask, entry) = entries.iter_mut().find(|(_, entry)| entry.asking == Asking::Due)?;
        entry.asking = Asking::Said;
        Some(ask.clone())
    }

    /// What was asked on a link that is lost may have been lost with it.
    pub fn say_again(&self) {
        for entry in self.entries().values_mut().filter(|entry| entry.asking == Asking::Said) {
            entry.asking = Asking::Due;
        }
    }

    /// The server's answer.
    pub fn put(&self, given: TokenGiven) {
        let is_of = |ask: &TokenAsk| {
            ask.uid == given.uid && ask.audience == given.audience && ask.seconds == given.seconds
        };
        let mut entries = self.entries();
        let Some((_, entry)) = entries.iter_mut().find(|(ask, _)| is_of(ask)) else { return };
        let now = Instant::now();
        entry.asking = Asking::No;
        match given.token {
            Some(token) => (entry.token, entry.refused, entry.refusals) = (Some((token, now)), None, 0),
            None => {
                entry.refused = Some((given.refused.unwrap_or_default(), now));
                entry.refusals = entry.refusals.saturating_add(1);
            }
        }
        self.0.has_news.store(true, Ordering::SeqCst);
        self.0.given.notify(usize::MAX.additional());
    }

    /// Whether the server has answered since the last call.
    pub fn take_news(&self) -> bool {
        self.0.has_news.swap(false, Ordering::SeqCst)
    }

    /// The pod is gone.
    pub fn forget(&self, uid: &str) {
        self.entries().retain(|ask, _| ask.uid != uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(token: Option<&str>) -> TokenGiven {
        TokenGiven {
            uid: "u-1".into(),
            audience: "vault".into(),
            seconds: 3600,
            token: token.map(str::to_owned),
            refused: token.is_none().then(|| "no such account".to_owned()),
        }
    }

    #[test]
    fn a_token_is_asked_for_once_on_each_link_until_it_comes() {
        let tokens = Tokens::default();
        let pod = json!({"metadata": {"uid": "u-1", "namespace": "default", "name": "web"}});
        let pod = Object::from_value(pod).unwrap();
        let get = || tokens.get(&pod, "vault", 3600);
        assert_eq!(get(), Err("the server has not given it yet".into()));
        let ask = tokens.next_ask().unwrap();
        assert_eq!((ask.uid.as_str(), ask.audience.as_str(), ask.seconds), ("u-1", "vault", 3600));
        assert!(get().is_err());
        assert_eq!(tokens.next_ask(), None);
        tokens.say_again();
        assert_eq!(tokens.next_ask(), Some(ask.clone()));

        tokens.put(answer(None));
        assert!(tokens.take_news() && !tokens.take_news());
        assert_eq!(get(), Err("no such account".into()));
        assert_eq!(tokens.next_ask(), None, "not again at once");

        tokens.put(answer(Some("t")));
        assert_eq!(get(), Ok("t".into()));
        let due = tokens.renew().unwrap().duration_since(Instant::now());
        assert!((2870..=2880).contains(&due.as_secs()), "{due:?}");
        // As time goes by.
        let age = |seconds| {
            let at = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
            tokens.entries().get_mut(&ask).unwrap().token = Some(("t".into(), at));
        };
        age(2890);
        assert_eq!(tokens.renew(), None);
        assert_eq!(tokens.next_ask(), Some(ask.clone()));
        assert_eq!(get(), Ok("t".into()), "good until it ends");
        age(3601);
        assert!(get().is_err());
        tokens.forget("u-1");
        assert!(tokens.entries().is_empty());
    }
}
