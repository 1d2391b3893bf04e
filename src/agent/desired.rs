//! The pods that this node is to run, kept on disk so that they start without a server.
