#[cfg(not(madsim))]
compile_error!("x");
