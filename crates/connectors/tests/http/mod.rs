//! A server on loopback that answers as a test wants.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

pub(crate) type Response = hyper::Response<Full<Bytes>>;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query, still encoded.
    pub(crate) target: String,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Value,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    runtime: Runtime,
}

impl Server {
    /// One that answers each request with what `answer` makes of it.
    pub(crate) fn start<F>(answer: impl Fn(Request) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        Self::with_tls(None, answer)
    }

    pub(crate) fn with_tls<F>(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(Request) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (told, counted) = (Arc::clone(&requests), Arc::clone(&connections));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, tls.clone(), Arc::clone(&told), answer.clone()));
            }
        });
        Self { address, requests, connections, runtime }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

async fn serve<F>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    told: Arc<Mutex<Vec<Request>>>,
    answer: impl Fn(Request) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Response> + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (told, answer) = (Arc::clone(&told), answer.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let request = Request {
                method: parts.method.to_string(),
                target: parts.uri.path_and_query().unwrap().to_string(),
                headers: parts.headers,
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            told.lock().unwrap().push(request.clone());
            Ok::<_, Infallible>(answer(request).await)
        }
    });
    // What the client does to the connection is its own affair.
    let _ = match tls {
        None => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
            Err(_) => Ok(()),
        },
    };
}

pub(crate) fn response(status: u16, body: impl Into<Bytes>) -> Response {
    hyper::Response::builder().status(status).body(Full::new(body.into())).unwrap()
}
