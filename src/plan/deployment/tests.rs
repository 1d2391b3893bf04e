//! Rollouts played through: a Deployment, its ReplicaSets and their pods by number, with the plans carried out.

use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::api::time;

/// Pods are the numbers of those that do not serve and of those that do.
struct Play {
    deployment: Object,
    sets: Vec<Object>,
    pods: Vec<(i64, i64)>,
    now: SystemTime,
    made: u64,
}

impl Play {
    fn new(spec: Value) -> Self {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "a", "uid": "d", "generation": 1},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"nodeName": "1"}}},
        });
        let mut deployment = Object::from_value(deployment).unwrap();
        for (name, value) in spec.as_object().unwrap() {
            deployment.set(&format!("/spec/{name}"), value.clone());
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Self { deployment, sets: Vec::new(), pods: Vec::new(), now, made: 0 }
    }

    fn change(&mut self, pointer: &str, value: impl Into<Value>) {
        self.deployment.set(pointer, value);
        self.deployment.set("/metadata/generation", self.deployment.generation() + 1);
    }

    fn plan(&self) -> Plan {
        let taken = |name: &str| self.sets.iter().any(|set| set.name() == name);
        plan(&self.deployment, self.sets.clone(), &taken, None, self.now)
    }

    fn carry_out(&mut self, plan: &Plan) {
        for action in &plan.actions {
            match action {
                Action::Create(set, _) => {
                    self.made += 1;
                    let mut set = set.clone();
                    set.set("/metadata/uid", format!("s{}", self.made));
                    let born = SystemTime::UNIX_EPOCH + Duration::from_secs(self.made);
                    set.set("/metadata/creationTimestamp", time::format(born));
                    set.set("/metadata/generation", 1);
                    self.sets.push(set);
                    self.pods.push((0, 0));
                }
                Action::Update(set, _) => {
                    let old = self.sets.iter_mut().find(|old| old.name() == set.name()).unwrap();
                    let generation = old.generation() + i64::from(old.at("/spec") != set.at("/spec"));
                    *old = set.clone();
                    old.set("/metadata/generation", generation);
                }
                Action::Delete(set, _) => {
                    let at = self.sets.iter().position(|old| old.name() == set.name()).unwrap();
                    self.sets.remove(at);
                    assert_eq!(self.pods.remove(at), (0, 0));
                }
                Action::Event { .. } => {}
            }
        }
        if let Some(status) = &plan.status {
            self.deployment.set("/status", status.clone());
        }
        if let Some((key, value)) = &plan.note {
            self.deployment.set_annotation(key, value);
        }
    }

    /// The ReplicaSets do their part: pods that do not serve go first.
    fn resize(&mut self) {
        for (set, (idle, serving)) in self.sets.iter().zip(&mut self.pods) {
            let wanted = set.i64_at("/spec/replicas").unwrap();
            *serving = (*serving).min(wanted);
            *idle = wanted - *serving;
        }
    }

    /// The ReplicaSets do their part and say so.
    fn report(&mut self) {
        self.resize();
        for (set, (idle, serving)) in self.sets.iter_mut().zip(&self.pods) {
            let counts = json!({"replicas": idle + serving, "readyReplicas": serving, "availableReplicas": serving,
                "terminatingReplicas": 0, "observedGeneration": set.generation()});
            set.set("/status", counts);
        }
    }

    fn serve(&mut self) {
        for (idle, serving) in &mut self.pods {
            (*idle, *serving) = (0, *idle + *serving);
        }
        self.report();
    }

    /// Plans and carries out until there is nothing left to do for these pods.
    fn settle(&mut self) {
        for _ in 0..20 {
            let plan = self.plan();
            self.carry_out(&plan);
            self.report();
            if plan.actions.is_empty() && plan.status.is_none() {
                return;
            }
        }
        panic!("it does not settle: {:?}", self.plan());
    }

    /// Until all pods of the newest template serve.
    fn finish(&mut self) {
        for _ in 0..200 {
            self.settle();
            if self.pods.iter().all(|(idle, _)| *idle == 0) {
                return;
            }
            self.serve();
        }
        panic!("it does not come to an end");
    }

    fn all(&self) -> i64 {
        self.pods.iter().map(|(idle, serving)| idle + serving).sum()
    }

    fn serving(&self) -> i64 {
        self.pods.iter().map(|(_, serving)| serving).sum()
    }

    /// The plan in words: what golden files hold.
    fn told(&self, plan: &Plan) -> String {
        let mut text = String::new();
        for action in &plan.actions {
            let (verb, object, told) = match action {
                Action::Create(object, told) => ("create", object, told),
                Action::Update(object, Told::Nothing) => ("adopt", object, &Told::Nothing),
                Action::Update(object, told) => ("update", object, told),
                Action::Delete(object, told) => ("delete", object, told),
                Action::Event { reason, message, .. } => {
                    writeln!(text, "  event {reason}: {message}").unwrap();
                    continue;
                }
            };
            let note = |name| {
                object.annotation(&format!("deployment.kubernetes.io/{name}")).unwrap_or("-").to_owned()
            };
            let notes = ["revision", "revision-history", "desired-replicas", "max-replicas"].map(note);
            write!(
                text,
                "  {verb} {} replicas={} notes={}",
                object.name(),
                object.i64_at("/spec/replicas").unwrap(),
                notes.join(" ")
            )
            .unwrap();
            match told {
                Told::Reasons { done: Some((reason, message)), .. } => {
                    writeln!(text, " | {reason}: {message}").unwrap()
                }
                _ => text.push('\n'),
            }
        }
        if let Some(status) = &plan.status {
            let count =
                |name: &str| status.get(format!("{name}Replicas")).map_or(0, |count| count.as_i64().unwrap());
            let counts = ["updated", "ready", "available", "unavailable"]
                .map(|name| format!(" {name}={}", count(name)));
            writeln!(
                text,
                "  status generation={} replicas={}{}",
                status["observedGeneration"],
                status.get("replicas").unwrap_or(&json!(0)),
                counts.concat()
            )
            .unwrap();
            for condition in status["conditions"].as_array().unwrap() {
                let word = |name: &str| condition[name].as_str().unwrap();
                writeln!(
                    text,
                    "    {}={} {}: {}",
                    word("type"),
                    word("status"),
                    word("reason"),
                    word("message")
                )
                .unwrap();
            }
        }
        if let Some((key, value)) = &plan.note {
            writeln!(text, "  note {key}={value}").unwrap();
        }
        if let Some(again) = plan.again {
            writeln!(text, "  again in {} s", again.duration_since(self.now).unwrap().as_secs()).unwrap();
        }
        if text.is_empty() { "  nothing\n".to_owned() } else { text }
    }

    /// One plan, told and carried out.
    fn step(&mut self, golden: &mut String, what: &str) {
        let plan = self.plan();
        let pods: Vec<String> =
            self.pods.iter().map(|(idle, serving)| format!("{serving}/{}", idle + serving)).collect();
        let pods = if pods.is_empty() { "none".to_owned() } else { pods.join(" ") };
        write!(golden, "- {what} (serving: {pods})\n{}", self.told(&plan)).unwrap();
        self.carry_out(&plan);
        self.report();
    }
}

const IMAGE: &str = "/spec/template/spec/nodeName";

/// Whole rollouts, plan by plan.
#[test]
fn rollouts_go_as_upstream_has_them() {
    let mut golden = String::new();
    let title = |golden: &mut String, title: &str| writeln!(golden, "\n## {title}").unwrap();
    let rolling = |surge: Value, unavailable: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});

    title(&mut golden, "create, roll out, undo: 10 replicas, 25% and 25%");
    let mut play = Play::new(json!({"replicas": 10, "strategy": rolling(json!("25%"), json!("25%"))}));
    play.step(&mut golden, "new");
    play.step(&mut golden, "pods are there");
    play.serve();
    play.step(&mut golden, "they serve");
    play.step(&mut golden, "at rest");
    play.change(IMAGE, "2");
    for what in ["another template", "room by the old ones that went", "old pods are gone"] {
        play.step(&mut golden, what);
    }
    play.serve();
    play.step(&mut golden, "new ones serve");
    play.finish();
    play.step(&mut golden, "all done");
    play.change(IMAGE, "1");
    play.step(&mut golden, "undone");
    play.finish();
    play.step(&mut golden, "at rest");

    title(&mut golden, "old pods that do not serve go first");
    play.change(IMAGE, "3");
    play.settle();
    play.change(IMAGE, "2");
    play.step(&mut golden, "back while none of the newest serves");
    play.finish();

    title(&mut golden, "scaled in the middle of a rollout");
    let mut play = Play::new(json!({"replicas": 10, "strategy": rolling(json!(3), json!(2))}));
    play.finish();
    play.change(IMAGE, "2");
    play.settle();
    play.change("/spec/replicas", 15);
    play.step(&mut golden, "10 to 15");
    play.settle();
    play.change("/spec/replicas", 5);
    play.step(&mut golden, "15 to 5");
    play.settle();
    play.change("/spec/replicas", 0);
    play.step(&mut golden, "to 0");

    title(&mut golden, "paused: scaled, not rolled out");
    let mut play = Play::new(json!({"strategy": rolling(json!(1), json!(0))}));
    play.finish();
    play.change("/spec/paused", true);
    play.change(IMAGE, "2");
    play.step(&mut golden, "paused, another template");
    play.change("/spec/replicas", 5);
    play.step(&mut golden, "paused, 3 to 5");
    play.change("/spec/paused", false);
    play.step(&mut golden, "resumed");

    title(&mut golden, "recreate");
    let mut play = Play::new(json!({"strategy": {"type": "Recreate"}}));
    play.finish();
    play.change(IMAGE, "2");
    play.step(&mut golden, "another template");
    play.sets[0].set("/status/terminatingReplicas", 3);
    play.step(&mut golden, "old pods still end");
    play.step(&mut golden, "they are gone");

    title(&mut golden, "the deadline");
    let mut play = Play::new(json!({"replicas": 2, "progressDeadlineSeconds": 10}));
    play.settle();
    play.now += Duration::from_secs(12);
    play.step(&mut golden, "12 s later");
    play.serve();
    play.step(&mut golden, "late, but they serve");

    title(&mut golden, "no more history than asked for");
    let mut play = Play::new(json!({"replicas": 1, "revisionHistoryLimit": 1}));
    for template in ["1", "2", "3"] {
        play.change(IMAGE, template);
        play.finish();
    }
    assert_eq!(play.sets.len(), 2);
    play.change("/spec/revisionHistoryLimit", 0);
    play.step(&mut golden, "none is kept");

    let (found, expected) = (golden.trim_start(), include_str!("rollouts.txt"));
    let first = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "line {} of rollouts.txt differs; all is now\n{found}",
        first.unwrap_or(0) + 1
    );
}

#[test]
fn a_name_that_is_taken_is_a_collision() {
    let play = Play::new(json!({}));
    let mut names = Vec::new();
    for _ in 0..3 {
        let taken = |name: &str| names.iter().any(|known: &String| known == name);
        let plan = plan(&play.deployment, Vec::new(), &taken, None, play.now);
        let [Action::Create(set, _)] = &plan.actions[..] else { panic!("{plan:?}") };
        let collisions = plan.status.unwrap().get("collisionCount").and_then(Value::as_u64);
        assert_eq!(collisions, (!names.is_empty()).then_some(names.len() as u64));
        let hash = set.label(template::HASH).unwrap();
        assert_eq!(set.name(), format!("web-{hash}"));
        assert_eq!(set.str_at("/spec/selector/matchLabels/pod-template-hash"), hash);
        assert_eq!(set.str_at("/spec/template/metadata/labels/pod-template-hash"), hash);
        names.push(set.name().to_owned());
    }
}

#[test]
fn what_fails_is_told() {
    let mut play = Play::new(json!({}));
    let quota = Status::forbidden("exceeded quota".to_owned());
    let failed = plan(&play.deployment, Vec::new(), &|_| false, Some(&quota), play.now);
    let status = failed.status.unwrap();
    let progressing =
        status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Progressing");
    assert_eq!(progressing.unwrap()["reason"], "ReplicaSetCreateError");

    play.settle();
    let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}]);
    play.sets[0].set("/status/conditions", failure);
    let status = play.plan().status.unwrap();
    let told = status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "ReplicaFailure");
    assert_eq!(
        (&told.unwrap()["reason"], &told.unwrap()["message"]),
        (&json!("FailedCreate"), &json!("exceeded quota"))
    );
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % u64::try_from(end).unwrap()).unwrap()
    }
}

/// Rollouts with templates that change half-way and pods that fail at any time: there are never more pods than the
/// surge allows, and no pod that serves is ended while fewer serve than must. In some no pod fails, and ReplicaSets
/// are late with what they do and say.
#[test]
fn ten_thousand_rollouts_keep_their_bounds() {
    let four = [1, 2, 3, 4].map(|seed| std::thread::spawn(move || roll_out(seed, 2_500)));
    four.into_iter().for_each(|one| one.join().unwrap());
}

fn roll_out(seed: u64, sequences: u64) {
    let mut random = Random(seed);
    for sequence in 0..sequences {
        let replicas = random.below(9);
        let part = |random: &mut Random| match random.below(2) {
            0 => json!(random.below(4)),
            _ => json!(format!("{}%", random.below(5) * 25)),
        };
        let rolling = json!({"maxSurge": part(&mut random), "maxUnavailable": part(&mut random)});
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        let mut play = Play::new(json!({"replicas": replicas, "strategy": strategy}));
        let bounds = Bounds::of(&play.deployment);
        let sizes = || {
            format!(
                "seed {seed}, sequence {sequence}: {} {} {}",
                bounds.replicas, bounds.surge, bounds.unavailable
            )
        };
        let plan = play.plan();
        play.carry_out(&plan);
        play.serve();
        let are_late = random.below(4) == 0;
        let mut template = 1;
        for _ in 0..3 {
            if random.below(3) == 0 || template == 1 {
                template = 1 + random.below(3);
                play.change(IMAGE, template.to_string());
            }
            let serving = play.serving();
            let plan = play.plan();
            play.carry_out(&plan);
            let asked: i64 = play.sets.iter().map(|set| set.i64_at("/spec/replicas").unwrap()).sum();
            assert!(asked <= bounds.most(), "{asked} pods, {}", sizes());
            if are_late && random.below(2) == 0 {
                continue;
            }
            play.resize();
            assert!(play.serving() >= bounds.least().min(serving), "{} serve, {}", play.serving(), sizes());
            for (idle, serving) in &mut play.pods {
                let begins = random.below(*idle + 1);
                let fails = i64::from(!are_late && *serving > 0 && random.below(5) == 0);
                *serving += begins - fails;
                *idle += fails - begins;
            }
            play.report();
        }
        if sequence % 100 == 0 {
            play.report();
            play.finish();
            let left = play.pods.iter().filter(|pods| pods.1 > 0).count();
            assert!(left <= 1 && play.all() == replicas, "{:?}, {}", play.pods, sizes());
        }
    }
}
