use super::*;

fn noon(minutes: i64) -> SystemTime {
    time::parse("2026-06-01T12:00:00Z").unwrap() + Duration::from_secs(u64::try_from(minutes * 60).unwrap())
}

struct Cluster {
    cron: Object,
    jobs: Vec<Object>,
    events: Vec<&'static str>,
    now: SystemTime,
}

impl Cluster {
    fn new(spec: Value) -> Self {
        let mut cron = json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "tick", "namespace": "default", "uid": "c", "creationTimestamp": time::format(noon(0))},
            "spec": {"schedule": "*/10 * * * *", "concurrencyPolicy": "Allow",
                "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}}});
        for (name, value) in spec.as_object().unwrap() {
            cron["spec"][name] = value.clone();
        }
        let cron = Object::from_value(cron).unwrap();
        Self { cron, jobs: Vec::new(), events: Vec::new(), now: noon(0) }
    }

    /// Plans until there is nothing to do; how many Jobs were made.
    fn settle(&mut self, now: SystemTime) -> usize {
        let mut made = 0;
        self.now = now;
        for _ in 0..10 {
            let plan = plan(&self.cron, &self.jobs, Ok(Zone::default()), now);
            let changes =
                plan.status.is_some() || plan.actions.iter().any(|one| !matches!(one, Action::Event { .. }));
            for action in plan.actions {
                match action {
                    Action::Create(mut job, _) => {
                        made += 1;
                        job.set("/metadata/uid", format!("{}-uid", job.name()));
                        job.set("/status/startTime", time::format(now));
                        self.jobs.push(job);
                    }
                    Action::Delete(gone, _) => self.jobs.retain(|job| job.uid() != gone.uid()),
                    Action::Event { reason, .. } => self.events.push(reason),
                    Action::Update(..) => panic!(),
                }
            }
            if let Some(status) = plan.status {
                self.cron.set("/status", status);
            }
            if !changes {
                return made;
            }
        }
        panic!("the plans do not come to an end");
    }

    fn end(&mut self, at: usize, how: &str) {
        let job = &mut self.jobs[at];
        let now = time::format(self.now);
        job.set("/status/conditions", json!([{"type": how, "status": "True", "lastTransitionTime": now}]));
        if how == "Complete" {
            job.set("/status/completionTime", now);
        }
    }

    fn names(&self) -> Vec<&str> {
        self.jobs.iter().map(Object::name).collect()
    }
}

#[test]
fn a_job_is_made_when_it_is_due_and_once() {
    let mut cluster = Cluster::new(json!({}));
    assert_eq!(cluster.settle(noon(9)), 0);
    assert_eq!(plan(&cluster.cron, &[], Ok(Zone::default()), noon(9)).again, Some(noon(10)));
    assert_eq!((cluster.settle(noon(10)), cluster.settle(noon(11))), (1, 0));
    let minutes = time::unix(noon(10)).0 / 60;
    assert_eq!(cluster.names(), [format!("tick-{minutes}")]);
    assert_eq!(cluster.jobs[0].label("a"), Some("b"));
    assert_eq!(cluster.cron.str_at("/status/lastScheduleTime"), "2026-06-01T12:10:00Z");
    assert_eq!(cluster.cron.str_at("/status/active/0/uid"), cluster.jobs[0].uid());
    cluster.end(0, "Complete");
    cluster.settle(noon(12));
    assert_eq!(cluster.cron.at("/status/active"), None);
    assert_eq!(cluster.cron.str_at("/status/lastSuccessfulTime"), "2026-06-01T12:11:00Z");
    assert_eq!(cluster.events, ["SawCompletedJob"]);
    // It is gone, and still not made again.
    cluster.jobs.clear();
    assert_eq!(cluster.settle(noon(13)), 0);
}

#[test]
fn concurrency_is_allowed_forbidden_or_ended() {
    for (policy, made, left, event) in
        [("Allow", 1, 2, None), ("Forbid", 0, 1, Some("JobAlreadyActive")), ("Replace", 1, 1, None)]
    {
        let mut cluster = Cluster::new(json!({"concurrencyPolicy": policy}));
        cluster.settle(noon(10));
        assert_eq!((cluster.settle(noon(20)), cluster.jobs.len()), (made, left), "{policy}");
        assert_eq!(cluster.cron.array_at("/status/active").len(), left, "{policy}");
        assert_eq!(cluster.events.first().copied(), event, "{policy}");
    }
}

#[test]
fn a_clock_that_leaps_makes_one_job_at_most() {
    let mut cluster = Cluster::new(json!({"schedule": "* * * * *"}));
    cluster.cron.set("/metadata/creationTimestamp", "1970-01-01T00:00:10Z");
    assert_eq!((cluster.settle(noon(0)), cluster.settle(noon(0))), (1, 0));
    assert_eq!(cluster.events, ["TooManyMissedTimes"]);
    assert_eq!(cluster.cron.str_at("/status/lastScheduleTime"), "2026-06-01T12:00:00Z");
    // Back, and forth again.
    assert_eq!((cluster.settle(at(500)), cluster.settle(noon(0)), cluster.settle(noon(1))), (0, 0, 1));

    let mut cluster = Cluster::new(json!({"startingDeadlineSeconds": 60}));
    assert_eq!((cluster.settle(noon(15)), cluster.settle(noon(20) + Duration::from_secs(30))), (0, 1));
    let mut cluster = Cluster::new(json!({"suspend": true}));
    assert_eq!(cluster.settle(noon(500)), 0);
}

#[test]
fn history_is_kept_to_its_limits() {
    let mut cluster = Cluster::new(json!({"successfulJobsHistoryLimit": 2, "failedJobsHistoryLimit": 0}));
    for round in 1..6 {
        cluster.settle(noon(round * 10));
        let last = cluster.jobs.len() - 1;
        cluster.end(last, if round == 3 { "Failed" } else { "Complete" });
    }
    cluster.settle(noon(51));
    let minutes = time::unix(noon(0)).0 / 60;
    assert_eq!(cluster.names(), [40, 50].map(|after| format!("tick-{}", minutes + after)));
}

#[test]
fn what_is_not_its_own_and_what_can_not_be() {
    let mut cluster = Cluster::new(json!({}));
    let mut manual = control::from_template(JOB, &json!({}), &cluster.cron);
    manual.set("/metadata/name", "manual");
    manual.set("/metadata/uid", "m");
    cluster.jobs.push(manual);
    cluster.settle(noon(1));
    assert_eq!(
        (cluster.events.as_slice(), cluster.cron.at("/status/active")),
        (&["UnexpectedJob"][..], None)
    );
    let unknown = plan(&cluster.cron, &[], Err("invalid timeZone".to_owned()), noon(10));
    assert!(matches!(&unknown.actions[..], [Action::Event { reason: "UnknownTimeZone", warning: true, .. }]));
    cluster.cron.set("/status/active", json!([{"name": "lost", "uid": "l"}]));
    cluster.jobs.clear();
    cluster.events.clear();
    cluster.settle(noon(1));
    assert_eq!((cluster.events.as_slice(), cluster.cron.at("/status/active")), (&["MissingJob"][..], None));
}
