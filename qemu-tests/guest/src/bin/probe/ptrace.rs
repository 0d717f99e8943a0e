//! Stops and breaks a process as a debugger can, PID 1 too: signals would not reach it (ptrace(2), linux/ptrace.h).

use std::io;
use std::ptr::null_mut;

/// The process stands still for as long as this one lives.
pub fn stop(pid: i32) -> io::Result<()> {
    call(libc::PTRACE_SEIZE.into(), pid)?;
    call(libc::PTRACE_INTERRUPT.into(), pid)?;
    let mut status = 0;
    // SAFETY: waits for the process seized above; the status is local.
    let waited = unsafe { libc::waitpid(pid, &mut status, libc::__WALL) };
    if waited == pid && libc::WIFSTOPPED(status) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The process goes on at an address where nothing is.
pub fn derail(pid: i32) -> io::Result<()> {
    stop(pid)?;
    // x0 to x30, sp, pc, pstate (struct user_pt_regs of arm64).
    let mut registers = [0_u64; 34];
    let mut piece = libc::iovec { iov_base: registers.as_mut_ptr().cast(), iov_len: size_of_val(&registers) };
    // NT_PRSTATUS
    let general: libc::c_long = 1;
    // SAFETY: the kernel reads and writes at most the length of the array that the iovec names.
    unsafe {
        if libc::syscall(libc::SYS_ptrace, libc::PTRACE_GETREGSET, pid, general, &raw mut piece) < 0 {
            return Err(io::Error::last_os_error());
        }
        registers[32] = 0;
        piece.iov_base = registers.as_mut_ptr().cast();
        if libc::syscall(libc::SYS_ptrace, libc::PTRACE_SETREGSET, pid, general, &raw mut piece) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    call(libc::PTRACE_DETACH.into(), pid)
}

/// Directly to the kernel: the C libraries do not agree on the type of `request`.
fn call(request: i64, pid: i32) -> io::Result<()> {
    let none = null_mut::<libc::c_void>();
    // SAFETY: these requests take no memory of this process.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, request, pid, none, none) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
