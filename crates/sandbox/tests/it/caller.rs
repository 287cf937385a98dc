//! A command that makes the calls that its input lists, for tests of what the calls of a guest may do.
//!
//! The input says how many calls there are, then as many numbers for each: which call, and its arguments. One of the
//! calls, [`Caller::say`], writes a part of the memory; of the others the error number is written.

/// Where the input lies in the caller's memory, and where the data behind its calls does.
pub(crate) const INPUT: u32 = 65_536;
pub(crate) const DATA: u32 = INPUT + 65_536;

/// What a caller can do.
pub(crate) struct Caller {
    /// Its imports, with `$read` and `$write` of preview 1 among them.
    pub(crate) imports: &'static str,
    /// Makes the call `$op` with the arguments `$a`, `$b` and so on, and leaves its error number.
    pub(crate) call: &'static str,
    /// Numbers of a call: itself and its arguments.
    pub(crate) width: u32,
    /// The call that writes so many bytes (its second argument) from a place in memory (its first).
    pub(crate) say: u32,
    /// Pages of its memory; two and what lies behind them are for its input.
    pub(crate) pages: u32,
}

impl Caller {
    pub(crate) fn module(&self) -> Vec<u8> {
        let Self { imports, call, width, say, pages } = self;
        let (end, step) = (pages * 65_536, width * 4);
        let arguments = || ('a'..).zip(1..*width);
        let named: String = arguments().map(|(name, _)| format!("(param ${name} i32) ")).collect();
        let loaded: String = arguments()
            .map(|(_, nth)| format!("(i32.load offset={} (local.get $at)) ", 4 * nth))
            .collect();
        let text = format!(
            r#"(module
    {imports}
    (memory (export "memory") {pages})
    (func $say (param $at i32) (param $len i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $len))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func $one (param $op i32) {named}(result i32) {call})
    (func (export "_start") (local $at i32) (local $end i32) (local $left i32)
        (local.set $end (i32.const {INPUT}))
        (block $all (loop $more
            (i32.store (i32.const 0) (local.get $end))
            (i32.store (i32.const 4) (i32.sub (i32.const {end}) (local.get $end)))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (br_if $all (i32.eqz (i32.load (i32.const 8))))
            (local.set $end (i32.add (local.get $end) (i32.load (i32.const 8))))
            (br $more)))
        (local.set $at (i32.const {first}))
        (local.set $left (i32.load (i32.const {INPUT})))
        (block $done (loop $next
            (br_if $done (i32.eqz (local.get $left)))
            (if (i32.eq (i32.load (local.get $at)) (i32.const {say}))
                (then (call $say
                    (i32.load offset=4 (local.get $at)) (i32.load offset=8 (local.get $at))))
                (else
                    (i32.store (i32.const 16)
                        (call $one (i32.load (local.get $at)) {loaded}))
                    (call $say (i32.const 16) (i32.const 4))))
            (local.set $at (i32.add (local.get $at) (i32.const {step})))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br $next)))))"#,
            first = INPUT + 4
        );
        wat::parse_str(text).unwrap()
    }
}

/// The caller's input up to [`DATA`]: what the pointers of the calls reach is put behind it.
pub(crate) fn listed<const N: usize>(calls: &[[u32; N]]) -> Vec<u8> {
    let count = u32::try_from(calls.len()).unwrap();
    let mut bytes = count.to_le_bytes().to_vec();
    bytes.extend(calls.iter().flatten().flat_map(|number| number.to_le_bytes()));
    bytes.resize((DATA - INPUT) as usize, 0);
    bytes
}

/// What the caller writes when all its calls give numbers.
pub(crate) fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect()
}
