//! Floor 0: Kubernetes objects: the kinds table, schema, selectors, patches, Status.
