//! The text of objects that are held for long, packed.
//!
//! Objects of one kind are alike: one of them serves as the dictionary of all others, and each takes a tenth of its text
//! then. Packing and reading it cost some microseconds each.

use bytes::Bytes;
use std::cell::RefCell;
use std::sync::{Arc, PoisonError, RwLock};
use zstd::bulk::{Compressor, Decompressor};

/// What objects of one kind are packed by: the text of one of them. It lives as long as any that was packed by it.
pub type Dictionary = Arc<[u8]>;

/// Bytes of a dictionary.
pub const DICTIONARY_MAX: usize = 16 << 10;
/// Fast: what is packed is read again.
const LEVEL: i32 = 3;

/// The text of one object.
pub struct Text {
    state: RwLock<State>,
    length: usize,
}

enum State {
    /// Nobody has tried to pack it.
    Fresh(Bytes),
    /// It does not get smaller.
    Plain(Bytes),
    Packed(Box<[u8]>, Dictionary),
}

impl Text {
    /// Not packed yet.
    pub fn new(text: Bytes) -> Self {
        Self { length: text.len(), state: RwLock::new(State::Fresh(text)) }
    }

    /// Of the text itself, however much it takes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// True until [`Self::pack`] was called.
    pub fn is_fresh(&self) -> bool {
        matches!(&*self.read(), State::Fresh(_))
    }

    /// Bytes that it takes, without what it shares with others.
    pub fn held(&self) -> usize {
        match &*self.read() {
            State::Fresh(text) | State::Plain(text) => text.len(),
            State::Packed(packed, _) => packed.len(),
        }
    }

    /// The text.
    pub fn get(&self) -> Bytes {
        match &*self.read() {
            State::Fresh(text) | State::Plain(text) => text.clone(),
            State::Packed(packed, dictionary) => unpacked(packed, dictionary, self.length),
        }
    }

    /// Packs it, if that is worth it.
    pub fn pack(&self, packer: &mut Packer, dictionary: &Dictionary) {
        let text = self.get();
        let state = match packer.pack(&text, dictionary) {
            Some(packed) => State::Packed(packed.into(), dictionary.clone()),
            None => State::Plain(text),
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Text {
    /// Of the texts; what was packed alike is not unpacked for it.
    fn eq(&self, other: &Self) -> bool {
        let packed = |text: &Self| match &*text.read() {
            State::Packed(packed, dictionary) => Some((packed.clone(), dictionary.clone())),
            State::Fresh(_) | State::Plain(_) => None,
        };
        self.length == other.length
            && match (packed(self), packed(other)) {
                (Some((one, by)), Some((another, its))) if Arc::ptr_eq(&by, &its) => one == another,
                _ => self.get() == other.get(),
            }
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.length)
    }
}

/// What is needed to pack; its memory is used again for each object.
#[derive(Default)]
pub struct Packer(Option<(Compressor<'static>, Option<Dictionary>)>);

impl Packer {
    /// `None` if it gets too little smaller.
    fn pack(&mut self, text: &[u8], dictionary: &Dictionary) -> Option<Vec<u8>> {
        if self.0.is_none() {
            self.0 = Some((Compressor::new(LEVEL).ok()?, None));
        }
        let (compressor, last) = self.0.as_mut()?;
        if !last.as_ref().is_some_and(|last| Arc::ptr_eq(last, dictionary)) {
            compressor.set_dictionary(LEVEL, dictionary).ok()?;
            *last = Some(dictionary.clone());
        }
        compressor.compress(text).ok().filter(|packed| packed.len() < text.len() / 2)
    }
}

/// By what the objects of one kind are packed as they come: the longest of them so far. One that has just been made has
/// little to say yet.
#[derive(Default)]
pub struct Pattern(Option<Dictionary>);

impl Pattern {
    /// The text, packed.
    pub fn pack(&mut self, packer: &mut Packer, json: Vec<u8>) -> Text {
        let longest = self.0.as_ref().map_or(0, |dictionary| dictionary.len());
        // By a little more each time, every object would be the dictionary of the next one only.
        if json.len() <= DICTIONARY_MAX && json.len() > longest + longest / 8 {
            self.0 = Some(json.as_slice().into());
        }
        let text = Text::new(json.into());
        if let Some(dictionary) = &self.0 {
            text.pack(packer, dictionary);
        }
        text
    }
}

/// A decompressor, and the dictionary that it was given last.
type Unpacker = (Decompressor<'static>, Option<Dictionary>);

fn unpacked(packed: &[u8], dictionary: &Dictionary, length: usize) -> Bytes {
    thread_local! {
        static UNPACKER: RefCell<Option<Unpacker>> = const { RefCell::new(None) };
    }
    UNPACKER.with_borrow_mut(|unpacker| {
        let (decompressor, last) =
            unpacker.get_or_insert_with(|| (Decompressor::new().expect("memory takes everything"), None));
        if !last.as_ref().is_some_and(|last| Arc::ptr_eq(last, dictionary)) {
            decompressor.set_dictionary(dictionary).expect("any bytes are a dictionary");
            *last = Some(dictionary.clone());
        }
        decompressor.decompress(packed, length).expect("what was packed here can be unpacked").into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_are_alike_take_a_fraction_and_read_back_as_they_were() {
        let object = |n: usize| {
            let fields: Vec<String> = (0..40).map(|f| format!("\"f:field-{f}\":{{\"value\":\"{f}\"}}")).collect();
            format!("{{\"metadata\":{{\"name\":\"web-{n}\",\"uid\":\"{:08x}\"}},{}}}", n * 7919, fields.join(","))
        };
        let dictionary: Dictionary = object(0).into_bytes().into();
        let mut packer = Packer::default();
        for n in 1..50 {
            let (text, before) = (Text::new(object(n).into()), object(n));
            assert!(text.is_fresh());
            text.pack(&mut packer, &dictionary);
            assert_eq!(text.get(), before, "it reads back");
            let (again, plain, next) =
                (Text::new(before.clone().into()), Text::new(before.clone().into()), Text::new(object(n + 1).into()));
            again.pack(&mut packer, &dictionary);
            next.pack(&mut packer, &dictionary);
            assert!(text == again && text == plain && text != next);
            assert!(!text.is_fresh());
            let State::Packed(packed, _) = &*text.read() else { panic!("it was not packed") };
            assert!(packed.len() * 10 < before.len(), "{} of {} bytes", packed.len(), before.len());
        }
    }

    #[test]
    fn objects_are_packed_by_what_the_longest_before_them_said() {
        let (mut packer, mut pattern) = (Packer::default(), Pattern::default());
        let object = |n: usize, fields: usize| {
            let fields: Vec<String> = (0..fields).map(|f| format!("\"f:field-{f}\":{{\"value\":\"{f}\"}}")).collect();
            format!("{{\"metadata\":{{\"name\":\"web-{n}\"}},{}}}", fields.join(",")).into_bytes()
        };
        let mut pack = |n, fields| pattern.pack(&mut packer, object(n, fields));
        let (young, grown) = (pack(1, 2), pack(1, 40));
        assert_eq!((young.get(), grown.get()), (object(1, 2).into(), object(1, 40).into()));
        let next = pack(2, 40);
        assert!(next.held() * 20 < next.length(), "{} of {} bytes", next.held(), next.length());
        let huge = pack(3, 4000);
        assert!(huge.length() > DICTIONARY_MAX && pack(4, 40).held() * 20 < next.length(), "it became the dictionary");
        assert_eq!(huge.get(), object(3, 4000));
    }

    #[test]
    fn what_does_not_get_smaller_stays_as_it_is() {
        let noise: Vec<u8> = (0..64u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let text = Text::new(noise.clone().into());
        text.pack(&mut Packer::default(), &Dictionary::from(&b"something else"[..]));
        assert!(matches!(&*text.read(), State::Plain(_)));
        assert_eq!(text.get(), noise);
    }
}
