//! The OpenAPI v3 documents, made from the schema table.
