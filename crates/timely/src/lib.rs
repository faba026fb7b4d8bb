//! inflight-timely
