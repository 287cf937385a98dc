//! Samples of formats: written by the libraries that people use, and built byte by byte.

/// Files that `samples/make.py` wrote, with what they are.
pub(crate) const FILES: &[(&str, &[u8], &str)] = &[
    ("table.parquet", include_bytes!("samples/table.parquet"), "Parquet"),
    ("groups.parquet", include_bytes!("samples/groups.parquet"), "Parquet"),
    ("empty.parquet", include_bytes!("samples/empty.parquet"), "Parquet"),
    ("old.parquet", include_bytes!("samples/old.parquet"), "Parquet"),
    ("table.feather", include_bytes!("samples/table.feather"), "Arrow"),
    ("table.arrow", include_bytes!("samples/table.arrow"), "Arrow"),
    ("table.arrows", include_bytes!("samples/table.arrows"), "Arrow"),
    ("table.csv", include_bytes!("samples/table.csv"), "CSV"),
    ("weights.safetensors", include_bytes!("samples/weights.safetensors"), "safetensors"),
    ("none.safetensors", include_bytes!("samples/none.safetensors"), "safetensors"),
    ("weights.gguf", include_bytes!("samples/weights.gguf"), "GGUF"),
    ("linear.onnx", include_bytes!("samples/linear.onnx"), "ONNX"),
    ("external.onnx", include_bytes!("samples/external.onnx"), "ONNX"),
    ("branches.onnx", include_bytes!("samples/branches.onnx"), "ONNX"),
    ("digits.ipynb", include_bytes!("samples/digits.ipynb"), "notebook"),
    ("numbers.npy", include_bytes!("samples/numbers.npy"), "opaque"),
    ("numbers.npz", include_bytes!("samples/numbers.npz"), "opaque"),
    ("structured.npy", include_bytes!("samples/structured.npy"), "opaque"),
    ("values.jsonl", include_bytes!("samples/values.jsonl"), "JSON lines"),
];

/// One of [`FILES`].
pub(crate) fn file(name: &str) -> &'static [u8] {
    FILES.iter().find(|(found, _, _)| *found == name).unwrap().1
}

/// Bytes that look like nothing, the same for each seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..len).map(|_| random.next().to_le_bytes()[3]).collect()
}

/// Numbers without a pattern, the same for each seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number: splitmix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// A safetensors file of this header and so many bytes of weights.
pub(crate) fn safetensors(header: &str, data_bytes: usize) -> Vec<u8> {
    let len = (header.len() as u64).to_le_bytes();
    [&len, header.as_bytes(), &vec![7; data_bytes]].concat()
}

/// A text as GGUF writes it.
pub(crate) fn gguf_text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// The head of a GGUF file.
pub(crate) fn gguf_head(version: u32, tensors: u64, settings: u64) -> Vec<u8> {
    [b"GGUF".as_slice(), &version.to_le_bytes(), &tensors.to_le_bytes(), &settings.to_le_bytes()]
        .concat()
}

/// A GGUF file of float tensors: name, offset, shape; and so many bytes of weights.
pub(crate) fn gguf(tensors: &[(&str, u64, &[u64])], data_bytes: usize) -> Vec<u8> {
    let mut bytes = gguf_head(3, tensors.len() as u64, 1);
    bytes.extend(gguf_text("general.architecture"));
    bytes.extend(8_u32.to_le_bytes());
    bytes.extend(gguf_text("llama"));
    for (name, offset, shape) in tensors {
        bytes.extend(gguf_text(name));
        bytes.extend(u32::try_from(shape.len()).unwrap().to_le_bytes());
        shape.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + data_bytes, 0);
    bytes
}

/// A zip archive of files that are not packed.
pub(crate) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let at = u32::try_from(bytes.len()).unwrap();
        let len = u32::try_from(content.len()).unwrap().to_le_bytes();
        let name_len = u16::try_from(name.len()).unwrap().to_le_bytes();
        let common = [&[0; 10][..], &[0; 4], &len, &len, &name_len, &[0, 0]].concat();
        bytes.extend([b"PK\x03\x04".as_slice(), &common, name.as_bytes(), content].concat());
        let rest = [&[0; 10][..], &at.to_le_bytes(), name.as_bytes()].concat();
        directory.extend([b"PK\x01\x02".as_slice(), &[0; 2], &common, &rest].concat());
    }
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    let (size, at) = (directory.len() as u32, bytes.len() as u32);
    bytes.extend(directory);
    bytes.extend([b"PK\x05\x06".as_slice(), &[0; 4], &count, &count].concat());
    bytes.extend([size.to_le_bytes(), at.to_le_bytes()].concat());
    bytes.extend([0, 0]);
    bytes
}

/// A tar of files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[257..263].copy_from_slice(b"ustar\0");
        bytes.extend(header);
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A PNG picture of one pixel; its checksums are wrong, which nobody here looks at.
pub(crate) fn png() -> Vec<u8> {
    let chunk = |name: &[u8], content: &[u8]| {
        [&u32::try_from(content.len()).unwrap().to_be_bytes(), name, content, &[0; 4]].concat()
    };
    let header = chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
    let data = chunk(b"IDAT", b"\x78\x9c\x63\0\0\0\x01\0\x01");
    [b"\x89PNG\r\n\x1a\n".as_slice(), &header, &data, &chunk(b"IEND", b"")].concat()
}

/// A GIF picture of one pixel.
pub(crate) fn gif() -> Vec<u8> {
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;".to_vec()
}

/// A field of a protocol buffer: its number and its bytes.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap());
    out.extend_from_slice(bytes);
    out
}

/// A field that is a number below 16,384.
pub(crate) fn number(field: u8, value: u16) -> Vec<u8> {
    let low = u8::try_from(value & 0x7f).unwrap();
    vec![field << 3, low | 0x80, u8::try_from(value >> 7).unwrap()]
}

/// A model whose graph is of these parts, for operator set 14.
pub(crate) fn onnx(parts: &[Vec<u8>]) -> Vec<u8> {
    let output = field(12, &field(1, b"y"));
    [number(1, 7), field(7, &[parts.concat(), output].concat()), field(8, &number(2, 14))].concat()
}
