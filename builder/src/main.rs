fn main() -> std::process::ExitCode {
    microdc::cli::main()
}
