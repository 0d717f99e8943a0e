//! All tests of the builder that look at it from outside, as one program: it is compiled and linked once.
//! `cargo test --release -p microdc --test integration NAME` runs those whose name holds the text.

// What they share.
mod bills;
mod end_to_end;
mod flash_kit;
mod folders;
mod format_support;
mod source_kit;

// What is claimed.
mod artifacts;
mod audit;
mod board;
mod built_image;
mod bundle;
mod bundle_damage;
mod command_line;
mod docs;
mod elsewhere;
mod examples;
mod flash;
mod flash_given;
mod flash_power;
mod flash_targets;
mod format_boot;
mod format_eeprom;
mod format_image;
mod format_root;
mod format_tree;
mod hostile;
mod installer;
mod looking;
mod mistakes;
mod node_check;
mod output;
mod pages;
mod processes;
mod profile;
mod profile_entries;
mod reproducible;
mod schemas;
mod security;
mod serve;
mod several;
mod shared_cache;
mod shipped;
mod signing;
mod source_deb;
mod source_debian;
mod source_go;
mod source_http;
mod source_resolve;
mod source_signed;
mod source_tls;
mod source_url;
mod stages;
mod template_sources;
mod vars;
