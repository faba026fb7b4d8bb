//! inflight-sim
