//! `microdc verify`
