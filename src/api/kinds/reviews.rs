//! Questions about users and rights: answered when they are asked, never stored.

use super::{CORE, Kind};

const AUTHENTICATION: Kind =
    Kind { group: "authentication.k8s.io", namespaced: false, verbs: &["create"], ..CORE };
const AUTHORIZATION: Kind = Kind { group: "authorization.k8s.io", ..AUTHENTICATION };

pub static SELF_SUBJECT_REVIEW: &Kind = &Kind {
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    ..AUTHENTICATION
};

pub static TOKEN_REVIEW: &Kind =
    &Kind { kind: "TokenReview", plural: "tokenreviews", singular: "tokenreview", ..AUTHENTICATION };

pub static LOCAL_SUBJECT_ACCESS_REVIEW: &Kind = &Kind {
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    namespaced: true,
    ..AUTHORIZATION
};

pub static SELF_SUBJECT_ACCESS_REVIEW: &Kind = &Kind {
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    ..AUTHORIZATION
};

pub static SELF_SUBJECT_RULES_REVIEW: &Kind = &Kind {
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    ..AUTHORIZATION
};

pub static SUBJECT_ACCESS_REVIEW: &Kind = &Kind {
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    ..AUTHORIZATION
};
