//! The bytes on a connection before it is a link: a plain hello in place of the handshake, then ACTIVATE or CLOSE.
//! Written here anew, so that the tests know the wire by themselves.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use portmesh::{Incarnation, NodeId};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub identity: u8,
    pub window: u32,
    pub frame_max: u32,
    pub message_max: u32,
    pub link_timeout: Duration,
    pub json: bool,
}

const HELLO: u8 = 0xF0;
const READY: u8 = 0xF1;
const PING: u8 = 1;
const PONG: u8 = 2;
const ACTIVATE: u8 = 3;
const CLOSE: u8 = 4;

/// A frame before the link is up.
#[derive(Debug, PartialEq)]
pub enum Early {
    Hello(Hello),
    Ready,
    Ping,
    Activate,
    Close(u16, String),
    Wrong(u8),
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 1).to_be_bytes().to_vec();
    out.push(kind);
    out.extend_from_slice(body);
    out
}

pub fn hello(hello: &Hello) -> Vec<u8> {
    let mut body = hello.incarnation.to_string().into_bytes();
    body.push(hello.identity);
    for number in [hello.window, hello.frame_max, hello.message_max] {
        body.extend_from_slice(&number.to_be_bytes());
    }
    body.extend_from_slice(&(hello.link_timeout.as_millis() as u32).to_be_bytes());
    body.push(hello.json.into());
    body.extend_from_slice(hello.node.as_str().as_bytes());
    frame(HELLO, &body)
}

pub fn ready() -> Vec<u8> {
    frame(READY, &[])
}

pub fn activate() -> Vec<u8> {
    frame(ACTIVATE, &[])
}

pub fn close(code: u16, text: &str) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend_from_slice(text.as_bytes());
    frame(CLOSE, &body)
}

/// The next frame, if all of it is there.
pub fn take(data: &mut BytesMut) -> Option<Early> {
    let length = u32::from_be_bytes(data.get(..4)?.try_into().unwrap()) as usize;
    if data.len() < 4 + length {
        return None;
    }
    data.advance(4);
    let mut body = data.split_to(length);
    Some(match body.get_u8() {
        HELLO => {
            let incarnation = String::from_utf8(body.split_to(32).to_vec()).unwrap();
            Early::Hello(Hello {
                incarnation: incarnation.parse().unwrap(),
                identity: body.get_u8(),
                window: body.get_u32(),
                frame_max: body.get_u32(),
                message_max: body.get_u32(),
                link_timeout: Duration::from_millis(body.get_u32().into()),
                json: body.get_u8() == 1,
                node: String::from_utf8(body.to_vec()).unwrap().parse().unwrap(),
            })
        }
        READY => Early::Ready,
        PING | PONG => Early::Ping,
        ACTIVATE => Early::Activate,
        CLOSE => Early::Close(body.get_u16(), String::from_utf8_lossy(&body).into_owned()),
        other => Early::Wrong(other),
    })
}
