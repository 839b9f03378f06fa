pub fn load(_file: std::sync::Arc<[u8]>) -> Result<crate::model::Model, crate::status::Status> {
    Err(crate::status::Status::InvalidModelMagic)
}
