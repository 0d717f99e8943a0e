//! microdc.
