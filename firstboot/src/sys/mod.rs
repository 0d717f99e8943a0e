//! The only unsafe code and the only raw system calls, one kernel interface a file.
