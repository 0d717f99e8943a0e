//! `microdc boot`: an image in the emulated CM4, with its console in this terminal.
