//! Order of each node's states, from a trace.
