//! Kinds by which pods are reached.

use super::{CORE, Field, Kind, READ_WRITE, Subresource};
use crate::api::{strategy, table};

const DISCOVERY: Kind = Kind { group: "discovery.k8s.io", ..CORE };

const NETWORKING: Kind = Kind { group: "networking.k8s.io", ..CORE };

pub static ENDPOINTS: &Kind = &Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    list_kind: "EndpointsList",
    short_names: &["ep"],
    columns: table::ENDPOINTS,
    strategy: &strategy::EndpointsStrategy,
    ..CORE
};

pub static SERVICE: &Kind = &Kind {
    kind: "Service",
    plural: "services",
    singular: "service",
    list_kind: "ServiceList",
    short_names: &["svc"],
    categories: &["all"],
    subresources: &[Subresource::new("status", "Service", READ_WRITE)],
    columns: table::SERVICE,
    fields: &[
        Field { label: "spec.clusterIP", value: |o| o.str_at("/spec/clusterIP").into() },
        Field { label: "spec.type", value: |o| o.str_at("/spec/type").into() },
    ],
    label_names: true,
    strategy: &strategy::ServiceStrategy,
    is_inert: true,
    ..CORE
};

pub static ENDPOINT_SLICE: &Kind = &Kind {
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    list_kind: "EndpointSliceList",
    columns: table::ENDPOINT_SLICE,
    strategy: &strategy::EndpointSliceStrategy,
    ..DISCOVERY
};

pub static INGRESS_CLASS: &Kind = &Kind {
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    list_kind: "IngressClassList",
    namespaced: false,
    columns: table::INGRESS_CLASS,
    strategy: &strategy::IngressClassStrategy,
    is_inert: true,
    ..NETWORKING
};

pub static INGRESS: &Kind = &Kind {
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    list_kind: "IngressList",
    short_names: &["ing"],
    subresources: &[Subresource::new("status", "Ingress", READ_WRITE)],
    columns: table::INGRESS,
    strategy: &strategy::IngressStrategy,
    is_inert: true,
    ..NETWORKING
};

pub static NETWORK_POLICY: &Kind = &Kind {
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    list_kind: "NetworkPolicyList",
    short_names: &["netpol"],
    columns: table::NETWORK_POLICY,
    strategy: &strategy::NetworkPolicyStrategy,
    is_inert: true,
    ..NETWORKING
};
